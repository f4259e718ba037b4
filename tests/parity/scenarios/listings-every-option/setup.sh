ipvsadm -A -t 192.0.2.10:80 -s wrr -p 300 -M 255.255.255.0
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -m -w 3 -x 100 -y 50
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.12:8080 -m -w 0
ipvsadm -A -u 192.0.2.11:53 -s mh -o -b mh-port,mh-fallback
ipvsadm -a -u 192.0.2.11:53 -r 198.51.100.13:53 -g
ipvsadm -A --sctp-service 192.0.2.12:9 -s sh -b sh-port
ipvsadm -a --sctp-service 192.0.2.12:9 -r 198.51.100.14:9 -i --tun-type gue --tun-port 7000 --tun-remcsum
ipvsadm -A -f 100 -s sed
ipvsadm -A -f 5 -6 -s nq -p 77 -M 56
ipvsadm -a -f 5 -6 -r [2001:db8:2::11]:80 -m
ipvsadm -A -t [2001:db8:1::10]:443 -s lblcr
ipvsadm -a -t [2001:db8:1::10]:443 -r [2001:db8:2::12] -i --tun-type gre --tun-csum
ipvsadm -A -u 192.0.2.12:5060 -s rr -p 60 --pe sip
