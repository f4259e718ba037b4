ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad
ipvsadm -A -u [2001:db8:1::10]:53 -s sed -p 10 -M 48
ipvsadm -a -u [2001:db8:1::10]:53 -r 198.51.100.14:53 -i -w 1 --tun-type gre --tun-csum
ipvsadm -a -u [2001:db8:1::10]:53 -r [2001:db8:2::16]:53 -i -w 3 --tun-type gue --tun-port 6080 --tun-csum
ipvsadm -a -u [2001:db8:1::10]:53 -r [2001:db8:2::15]:0 -i -w 2 --tun-type ipip -x 1 -y 0
ipvsadm -a -u [2001:db8:1::10]:53 -r [2001:db8:2::12]:0 -i -w 0
ipvsadm -a -u [2001:db8:1::10]:53 -r [2001:db8:2::11]:0 -i -w 2 --tun-type gue --tun-port 6080 --tun-remcsum
ipvsadm -A -t 192.0.2.11:80 -s dh -p 600
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.16:0 -g -w 2
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.11:80 -g -w 1
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.14:80 -g -w 0
